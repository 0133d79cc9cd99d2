/* loop:max,mul,add */
KERNEL void channels(GLOBAL u8 *x0_buffer, i64 x0_start,
    GLOBAL u8 *x1_buffer, i64 x1_start,
    GLOBAL u8 *x2_buffer, i64 x2_start,
    GLOBAL u8 *y0_buffer, i64 y0_start,
    long d0,
    long d1,
    long d2,
    long x0_0,
    long x0_1,
    long x1_0,
    long x1_1,
    long y0_0,
    long y0_1)
{
    GLOBAL float *x0 = (GLOBAL float *)(x0_buffer + x0_start);
    GLOBAL float *x1 = (GLOBAL float *)(x1_buffer + x1_start);
    GLOBAL float *x2 = (GLOBAL float *)(x2_buffer + x2_start);
    GLOBAL float *y0 = (GLOBAL float *)(y0_buffer + y0_start);
    const i64 i2 = GLOBAL_ID(0);
    const i64 row = GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1);
    i64 i0 = row;
    const i64 n1 = d1 > 0 ? d1 : 1, i1 = i0 % n1;
    i0 /= n1;
    if (i0 >= d0 || i1 >= d1 || i2 >= d2)
        return;
    const f32 v0 = x0[i0 * x0_0 + i1 * x0_1 + i2];
    const f32 v1 = x1[i0 * x1_0 + i1 * x1_1];
    const f32 v2 = v0 * v1;
    const f32 v3 = x2[0];
    const f32 v4 = v2 + v3;
    const f32 v6 = v4 < 0.0f ? 0.0f : v4;
    y0[i0 * y0_0 + i1 * y0_1 + i2] = v6;
}
