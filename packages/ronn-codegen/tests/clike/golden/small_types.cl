#ifndef HAS_div_u8
#define HAS_div_u8
/* Toward zero; by zero gives 0. */
DEVICE u8 div_u8(u8 a, u8 b) { const u8 q = a / (b == 0 ? 1 : b); return b == 0 ? 0 : q; }
#endif
#ifndef HAS_f16_of_f32
#define HAS_f16_of_f32
/* Half to even. Below 2**-14 adding 0.5 leaves the subnormal in the low bits, rounded by the addition. */
DEVICE u16 f16_of_f32(f32 x)
{
    const u32 bits = AS_U32(x), magnitude = bits & 0x7FFFFFFFu;
    const u32 small = AS_U32(AS_F32(magnitude) + 0.5f) - 0x3F000000u;
    const u32 normal = (magnitude + (((magnitude >> 13) & 1) + 0xFFFu) - 0x38000000u) >> 13;
    u32 y = magnitude < 0x38800000u ? small : normal;
    y = magnitude < 0x477FF000u ? y : 0x7C00u;
    y = x != x ? ((magnitude >> 13) & 0x3FF) | 0x7E00u : y;
    return (u16)(y | ((bits >> 16) & 0x8000u));
}
#endif
#ifndef HAS_f32_of_f16
#define HAS_f32_of_f16
/* Scaling by a power of two moves the exponent, subnormals included; what is infinite or NaN stays so. */
DEVICE f32 f32_of_f16(u16 h)
{
    const u32 magnitude = (u32)(h & 0x7FFF) << 13;
    const u32 scaled = AS_U32(AS_F32(magnitude) * 5.192296858534828e33f);
    const u32 bits = magnitude < 0x0F800000u ? scaled : magnitude | 0x7F800000u;
    return AS_F32(bits | (u32)(h & 0x8000) << 16);
}
#endif
/* loop:div,isnan,and,cast */
KERNEL void small_types(GLOBAL u8 *x0_buffer, i64 x0_start,
    GLOBAL u8 *x1_buffer, i64 x1_start,
    GLOBAL u8 *x2_buffer, i64 x2_start,
    GLOBAL u8 *x3_buffer, i64 x3_start,
    GLOBAL u8 *y0_buffer, i64 y0_start,
    GLOBAL u8 *y1_buffer, i64 y1_start,
    long d0)
{
    GLOBAL unsigned char *x0 = (GLOBAL unsigned char *)(x0_buffer + x0_start);
    GLOBAL unsigned char *x1 = (GLOBAL unsigned char *)(x1_buffer + x1_start);
    GLOBAL unsigned char *x2 = (GLOBAL unsigned char *)(x2_buffer + x2_start);
    GLOBAL unsigned short *x3 = (GLOBAL unsigned short *)(x3_buffer + x3_start);
    GLOBAL unsigned short *y0 = (GLOBAL unsigned short *)(y0_buffer + y0_start);
    GLOBAL unsigned char *y1 = (GLOBAL unsigned char *)(y1_buffer + y1_start);
    const i64 i0 = GLOBAL_ID(0);
    if (i0 >= d0)
        return;
    const u8 v0 = x0[i0];
    const u8 v1 = x1[i0];
    const u8 v2 = div_u8(v0, v1);
    const u16 v3 = f16_of_f32((f32)v2);
    const i32 v4 = x2[i0] != 0;
    const u16 v5 = x3[i0];
    const f32 v6 = f32_of_f16(v5);
    const i32 v7 = v6 != v6;
    const i32 v8 = (i32)(v4 & v7);
    y0[i0] = v3;
    y1[i0] = v8;
}
