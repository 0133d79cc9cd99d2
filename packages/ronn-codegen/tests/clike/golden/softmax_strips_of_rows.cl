/* rows:peak,sum,div,sub */
KERNEL void softmax_strips_of_rows(GLOBAL u8 *x0_buffer, i64 x0_start,
    GLOBAL u8 *y0_buffer, i64 y0_start,
    long d0,
    long d1,
    long x0_1,
    long y0_1)
{
    GLOBAL float *x0 = (GLOBAL float *)(x0_buffer + x0_start);
    GLOBAL float *y0 = (GLOBAL float *)(y0_buffer + y0_start);
    const i64 first = GLOBAL_ID(0) * 4;
    if (first >= d0)
        return;
    const i32 rows = d0 - first < 4 ? (i32)(d0 - first) : 4;
    /* each element of a row */
    f32 v1_of[4];
    for (i32 u = 0; u < 4; ++u) {
        v1_of[u] = (-INFINITY);
    }
    for (i64 i1 = 0; i1 < d1; ++i1)
        if (rows == 4)
            for (i32 u = 0; u < 4; ++u) {
                const i64 i0 = first + u;
                const f32 v0 = x0[i1 * x0_1 + i0];
                v1_of[u] = v1_of[u] < v0 ? v0 : v1_of[u];
            }
        else
            for (i32 u = 0; u < rows; ++u) {
                const i64 i0 = first + u;
                const f32 v0 = x0[i1 * x0_1 + i0];
                v1_of[u] = v1_of[u] < v0 ? v0 : v1_of[u];
            }
    /* each element of a row */
    f32 v4_of[4];
    for (i32 u = 0; u < 4; ++u) {
        v4_of[u] = 0.0f;
    }
    for (i64 i1 = 0; i1 < d1; ++i1)
        if (rows == 4)
            for (i32 u = 0; u < 4; ++u) {
                const i64 i0 = first + u;
                const f32 v2 = x0[i1 * x0_1 + i0];
                const f32 v3 = v2 - v1_of[u];
                y0[i1 * y0_1 + i0] = v3;
                v4_of[u] = v4_of[u] + v3;
            }
        else
            for (i32 u = 0; u < rows; ++u) {
                const i64 i0 = first + u;
                const f32 v2 = x0[i1 * x0_1 + i0];
                const f32 v3 = v2 - v1_of[u];
                y0[i1 * y0_1 + i0] = v3;
                v4_of[u] = v4_of[u] + v3;
            }
    /* once a row */
    f32 v6_of[4];
    for (i32 u = 0; u < rows; ++u) {
        const i64 i0 = first + u;
        const f32 v6 = 1.0f / v4_of[u];
        v6_of[u] = v6;
    }
    /* each element of a row */
    for (i64 i1 = 0; i1 < d1; ++i1)
        if (rows == 4)
            for (i32 u = 0; u < 4; ++u) {
                const i64 i0 = first + u;
                const f32 v7 = y0[i1 * y0_1 + i0];
                const f32 v8 = v7 * v6_of[u];
                y0[i1 * y0_1 + i0] = v8;
            }
        else
            for (i32 u = 0; u < rows; ++u) {
                const i64 i0 = first + u;
                const f32 v7 = y0[i1 * y0_1 + i0];
                const f32 v8 = v7 * v6_of[u];
                y0[i1 * y0_1 + i0] = v8;
            }
}
