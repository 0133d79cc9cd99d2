/* rows:peak,sum,div,sub */
KERNEL void softmax_strips(GLOBAL u8 *x0_buffer, i64 x0_start,
    GLOBAL u8 *y0_buffer, i64 y0_start,
    long d0,
    long d1,
    long x0_0,
    long y0_0)
{
    GLOBAL float *x0 = (GLOBAL float *)(x0_buffer + x0_start);
    GLOBAL float *y0 = (GLOBAL float *)(y0_buffer + y0_start);
    const i64 row = GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1);
    const i64 i0 = row;
    if (i0 >= d0)
        return;
    const i64 x0_row = i0 * x0_0;
    const i64 y0_row = i0 * y0_0;
    /* each element of a row */
    f32 v1_of[4];
    for (i32 u = 0; u < 4; ++u) {
        v1_of[u] = (-INFINITY);
    }
    for (i64 first = 0; first < d1; first += 4)
        if (first + 4 <= d1)
            for (i32 u = 0; u < 4; ++u) {
                const i64 i1 = first + u;
                const f32 v0 = x0[x0_row + i1];
                v1_of[u] = v1_of[u] < v0 ? v0 : v1_of[u];
            }
        else
            for (i64 i1 = first; i1 < d1; ++i1) {
                const f32 v0 = x0[x0_row + i1];
                v1_of[0] = v1_of[0] < v0 ? v0 : v1_of[0];
            }
    for (i32 beyond = 2; beyond > 0; beyond /= 2)
        for (i32 u = 0; u < beyond; ++u) {
            v1_of[u] = v1_of[u] < v1_of[u + beyond] ? v1_of[u + beyond] : v1_of[u];
        }
    f32 v1 = v1_of[0];
    /* each element of a row */
    f32 v4_of[4];
    for (i32 u = 0; u < 4; ++u) {
        v4_of[u] = 0.0f;
    }
    for (i64 first = 0; first < d1; first += 4)
        if (first + 4 <= d1)
            for (i32 u = 0; u < 4; ++u) {
                const i64 i1 = first + u;
                const f32 v2 = x0[x0_row + i1];
                const f32 v3 = v2 - v1;
                y0[y0_row + i1] = v3;
                v4_of[u] = v4_of[u] + v3;
            }
        else
            for (i64 i1 = first; i1 < d1; ++i1) {
                const f32 v2 = x0[x0_row + i1];
                const f32 v3 = v2 - v1;
                y0[y0_row + i1] = v3;
                v4_of[0] = v4_of[0] + v3;
            }
    for (i32 beyond = 2; beyond > 0; beyond /= 2)
        for (i32 u = 0; u < beyond; ++u) {
            v4_of[u] = v4_of[u] + v4_of[u + beyond];
        }
    f32 v4 = v4_of[0];
    /* once a row */
    const f32 v6 = 1.0f / v4;
    /* each element of a row */
    for (i64 first = 0; first < d1; first += 4)
        if (first + 4 <= d1)
            for (i32 u = 0; u < 4; ++u) {
                const i64 i1 = first + u;
                const f32 v7 = y0[y0_row + i1];
                const f32 v8 = v7 * v6;
                y0[y0_row + i1] = v8;
            }
        else
            for (i64 i1 = first; i1 < d1; ++i1) {
                const f32 v7 = y0[y0_row + i1];
                const f32 v8 = v7 * v6;
                y0[y0_row + i1] = v8;
            }
}
