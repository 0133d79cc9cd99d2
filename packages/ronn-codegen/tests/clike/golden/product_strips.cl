KERNEL void product_strips(long m,
    long n,
    long k,
    long batch,
    GLOBAL u8 *offsets_buffer, i64 offsets_start,
    GLOBAL u8 *a_buffer, i64 a_start,
    long a_row,
    long a_column,
    GLOBAL u8 *b_buffer, i64 b_start,
    long b_step,
    long b_panel,
    GLOBAL u8 *y_buffer, i64 y_start,
    long y_row,
    long y_column,
    GLOBAL u8 *a_zero_buffer, i64 a_zero_start,
    long a_zero_step)
{
    GLOBAL long *offsets = (GLOBAL long *)(offsets_buffer + offsets_start);
    GLOBAL unsigned char *a = (GLOBAL unsigned char *)(a_buffer + a_start);
    GLOBAL signed char *b = (GLOBAL signed char *)(b_buffer + b_start);
    GLOBAL int *y = (GLOBAL int *)(y_buffer + y_start);
    GLOBAL unsigned char *a_zero = (GLOBAL unsigned char *)(a_zero_buffer + a_zero_start);
    enum { ROWS = 2, COLUMNS = 16 };
    const i64 down = (m + ROWS - 1) / ROWS, across = (n + COLUMNS - 1) / COLUMNS;
    const i64 group = GROUP_ID(0), e = group / (down * across);
    const i64 i0 = group % down * ROWS, panel = group / down % across, j0 = panel * COLUMNS;
    const i64 high = m - i0 < ROWS ? m - i0 : ROWS, wide = n - j0 < COLUMNS ? n - j0 : COLUMNS;
    if (batch > 1) {
        GLOBAL const i64 *at = offsets + e * 3;
        a += at[0];
        b += at[1];
        y += at[2];
    }
    const GLOBAL i8 *right = b + panel * b_panel;
    const i64 row0 = i0 + 0 < m ? i0 + 0 : m - 1;
    const i64 row1 = i0 + 1 < m ? i0 + 1 : m - 1;
    const GLOBAL u8 *a0 = a + row0 * a_row;
    const GLOBAL u8 *a1 = a + row1 * a_row;
    const i32 z0 = a_zero[row0 * a_zero_step];
    const i32 z1 = a_zero[row1 * a_zero_step];
    i32 sums[ROWS * COLUMNS];
    i32x8 s0_0 = SPLAT_i32x8(0), s0_1 = SPLAT_i32x8(0);
    i32x8 s1_0 = SPLAT_i32x8(0), s1_1 = SPLAT_i32x8(0);
    for (i64 p = 0; p < k; p++) {
        const i32x8 b0 = LOAD_i32x8_i8(right + p * b_step + 0);
        const i32x8 b1 = LOAD_i32x8_i8(right + p * b_step + 8);
        const i32x8 x0 = SPLAT_i32x8((i32)((i32)a0[p * a_column] - z0));
        s0_0 = x0 * b0 + s0_0;
        s0_1 = x0 * b1 + s0_1;
        const i32x8 x1 = SPLAT_i32x8((i32)((i32)a1[p * a_column] - z1));
        s1_0 = x1 * b0 + s1_0;
        s1_1 = x1 * b1 + s1_1;
    }
    STORE_i32x8(sums + 0, s0_0);
    STORE_i32x8(sums + 8, s0_1);
    STORE_i32x8(sums + 16, s1_0);
    STORE_i32x8(sums + 24, s1_1);
    for (i64 r = 0; r < high; r++) {
        for (i64 c = 0; c < wide; c++) {
            const i64 i = i0 + r, j = j0 + c;
            const i32 v0 = sums[r * COLUMNS + c];
            y[i * y_row + j * y_column] = v0;
        }
    }
}
