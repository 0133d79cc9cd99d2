/* rows:argmax */
KERNEL void argmax_lanes(GLOBAL u8 *x0_buffer, i64 x0_start,
    GLOBAL u8 *y0_buffer, i64 y0_start,
    long d0,
    long d1,
    long x0_0,
    long y0_0)
{
    GLOBAL int *x0 = (GLOBAL int *)(x0_buffer + x0_start);
    GLOBAL long *y0 = (GLOBAL long *)(y0_buffer + y0_start);
    LOCAL i32 part_i32[64];
    LOCAL i64 part_position[64];
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
    i32 best1 = ((i32)0x80000000u);
    i64 v1 = -1; /* none yet */
    if (live)
        for (i64 i1 = lane; i1 < d1; i1 += lanes) {
            const i32 v0 = x0[x0_row + i1];
            if (best1 < v0 || (v0 == best1 && i1 < v1) || v1 == -1) {
                best1 = v0;
                v1 = i1;
            }
        }
    if (lanes > 1) {
        const i64 me = LOCAL_ID(1) * LOCAL_SIZE(0) + LOCAL_ID(0);
        part_i32[me] = best1;
        part_position[me] = v1;
        for (i64 left = lanes; left > 1; left = (left + 1) / 2) {
            const i64 beyond = (left + 1) / 2, other = me + beyond;
            BARRIER();
            if (lane + beyond < left) {
                if (part_position[other] != -1 && (part_i32[me] < part_i32[other] || (part_i32[other] == part_i32[me] && part_position[other] < part_position[me]) || part_position[me] == -1)) {
                    part_i32[me] = part_i32[other];
                    part_position[me] = part_position[other];
                }
            }
        }
        BARRIER();
        best1 = part_i32[me - lane];
        v1 = part_position[me - lane];
        BARRIER();
    }
    /* once a row */
    if (live && lane == 0) y0[y0_row] = v1;
}
