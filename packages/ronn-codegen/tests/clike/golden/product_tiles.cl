#ifndef MULADD
#define MULADD(a, b, c) ((a) * (b) + (c))
#endif
KERNEL void product_tiles(long m,
    long n,
    long k,
    long batch,
    GLOBAL u8 *offsets_buffer, i64 offsets_start,
    GLOBAL u8 *a_buffer, i64 a_start,
    long a_row,
    long a_column,
    GLOBAL u8 *b_buffer, i64 b_start,
    long b_row,
    long b_column,
    GLOBAL u8 *y_buffer, i64 y_start,
    long y_row,
    long y_column,
    GLOBAL u8 *bias_buffer, i64 bias_start,
    long bias_row,
    long bias_column)
{
    GLOBAL long *offsets = (GLOBAL long *)(offsets_buffer + offsets_start);
    GLOBAL float *a = (GLOBAL float *)(a_buffer + a_start);
    GLOBAL float *b = (GLOBAL float *)(b_buffer + b_start);
    GLOBAL float *y = (GLOBAL float *)(y_buffer + y_start);
    GLOBAL float *bias = (GLOBAL float *)(bias_buffer + bias_start);
    enum { DOWN = 4, ACROSS = 4, TALL = 2, WIDE = 2, DEPTH = 8, ROWS = 8, COLUMNS = 8, ITEMS = 16 };
    LOCAL f32 a_tiles[2 * DEPTH * ROWS];
    LOCAL f32 b_tiles[2 * DEPTH * COLUMNS];
    const i64 down = (m + ROWS - 1) / ROWS, across = (n + COLUMNS - 1) / COLUMNS;
    const i64 group = GROUP_ID(0), e = group / (down * across);
    const i64 i0 = group % down * ROWS, j0 = group / down % across * COLUMNS;
    const i32 item = (i32)LOCAL_ID(0), of_row = item / ACROSS, of_column = item % ACROSS;
    if (batch > 1) {
        GLOBAL const i64 *at = offsets + e * 4;
        a += at[0];
        b += at[1];
        y += at[2];
        bias += at[3];
    }
    f32 sums[TALL * WIDE];
    for (i32 s = 0; s < TALL * WIDE; s++) sums[s] = 0;
    for (i64 p = 0; p < k + DEPTH; p += DEPTH) {
        LOCAL f32 *a_next = a_tiles + (p / DEPTH & 1) * (DEPTH * ROWS);
        LOCAL f32 *b_next = b_tiles + (p / DEPTH & 1) * (DEPTH * COLUMNS);
        if (p < k) {
            for (i32 x = item; x < DEPTH * ROWS; x += ITEMS) {
                const i32 step = x % DEPTH, line = x / DEPTH;
                const i64 i = i0 + line, q = p + step;
                a_next[step * ROWS + line] = i < m && q < k ? a[i * a_row + q * a_column] : 0;
            }
            for (i32 x = item; x < DEPTH * COLUMNS; x += ITEMS) {
                const i32 step = x / COLUMNS, line = x % COLUMNS;
                const i64 j = j0 + line, q = p + step;
                b_next[step * COLUMNS + line] = j < n && q < k ? b[q * b_row + j * b_column] : 0;
            }
        }
        if (p > 0) {
            LOCAL f32 *a_tile = a_tiles + !(p / DEPTH & 1) * (DEPTH * ROWS);
            LOCAL f32 *b_tile = b_tiles + !(p / DEPTH & 1) * (DEPTH * COLUMNS);
            for (i32 step = 0; step < DEPTH; step++) {
                f32 left[TALL];
                for (i32 r = 0; r < TALL; r++) left[r] = a_tile[step * ROWS + of_row * TALL + r];
                for (i32 c = 0; c < WIDE; c++) {
                    const f32 right = b_tile[step * COLUMNS + c * ACROSS + of_column];
                    for (i32 r = 0; r < TALL; r++)
                        sums[r * WIDE + c] = MULADD(left[r], right, sums[r * WIDE + c]);
                }
            }
        }
        BARRIER();
    }
    for (i32 r = 0; r < TALL; r++) {
        const i64 i = i0 + of_row * TALL + r;
        for (i32 c = 0; c < WIDE; c++) {
            const i64 j = j0 + c * ACROSS + of_column;
            if (i < m && j < n) {
                const f32 v0 = sums[r * WIDE + c];
                const f32 v1 = bias[i * bias_row + j * bias_column];
                const f32 v2 = v0 + v1;
                const f32 v4 = v2 < 0.0f ? 0.0f : v2;
                y[i * y_row + j * y_column] = v4;
            }
        }
    }
}
