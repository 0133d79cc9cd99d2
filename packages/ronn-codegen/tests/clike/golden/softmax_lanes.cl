/* rows:peak,sum,div,sub */
KERNEL void softmax_lanes(GLOBAL u8 *x0_buffer, i64 x0_start,
    GLOBAL u8 *y0_buffer, i64 y0_start,
    long d0,
    long d1,
    long x0_0,
    long y0_0)
{
    GLOBAL float *x0 = (GLOBAL float *)(x0_buffer + x0_start);
    GLOBAL float *y0 = (GLOBAL float *)(y0_buffer + y0_start);
    LOCAL f32 part_f32[64];
    const i64 lane = LOCAL_ID(0), lanes = LOCAL_SIZE(0);
    const i64 wanted = GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1), rows = d0;
    const i64 row = wanted < rows ? wanted : rows - 1;
    if (d0 == 0)
        return;
    const i64 i0 = row;
    const i32 live = wanted == row; /* others only wait at barriers */
    const i64 x0_row = i0 * x0_0;
    const i64 y0_row = i0 * y0_0;
    /* each element of a row */
    f32 v1 = (-INFINITY);
    if (live)
        for (i64 i1 = lane; i1 < d1; i1 += lanes) {
            const f32 v0 = x0[x0_row + i1];
            v1 = v1 < v0 ? v0 : v1;
        }
    if (lanes > 1) {
        const i64 me = LOCAL_ID(1) * LOCAL_SIZE(0) + LOCAL_ID(0);
        part_f32[me] = v1;
        for (i64 left = lanes; left > 1; left = (left + 1) / 2) {
            const i64 beyond = (left + 1) / 2, other = me + beyond;
            BARRIER();
            if (lane + beyond < left) {
                part_f32[me] = part_f32[me] < part_f32[other] ? part_f32[other] : part_f32[me];
            }
        }
        BARRIER();
        v1 = part_f32[me - lane];
        BARRIER();
    }
    /* each element of a row */
    f32 v4 = 0.0f;
    if (live)
        for (i64 i1 = lane; i1 < d1; i1 += lanes) {
            const f32 v2 = x0[x0_row + i1];
            const f32 v3 = v2 - v1;
            y0[y0_row + i1] = v3;
            v4 = v4 + v3;
        }
    if (lanes > 1) {
        const i64 me = LOCAL_ID(1) * LOCAL_SIZE(0) + LOCAL_ID(0);
        part_f32[me] = v4;
        for (i64 left = lanes; left > 1; left = (left + 1) / 2) {
            const i64 beyond = (left + 1) / 2, other = me + beyond;
            BARRIER();
            if (lane + beyond < left) {
                part_f32[me] = part_f32[me] + part_f32[other];
            }
        }
        BARRIER();
        v4 = part_f32[me - lane];
        BARRIER();
    }
    /* once a row */
    const f32 v6 = 1.0f / v4;
    /* each element of a row */
    if (live)
        for (i64 i1 = lane; i1 < d1; i1 += lanes) {
            const f32 v7 = y0[y0_row + i1];
            const f32 v8 = v7 * v6;
            y0[y0_row + i1] = v8;
        }
}
