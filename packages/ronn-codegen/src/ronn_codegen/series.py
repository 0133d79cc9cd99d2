"""Coefficients of series, lowest power first, for whoever evaluates them: vectors in kernels, arrays in NumPy."""

from __future__ import annotations

import math

# erf(x) = x T(x^2), Taylor, to float64 for |x| < 0.9.
ERF_TAYLOR = tuple(2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(22))
# erfc(x) = exp(-x^2) t C(2 t - 1) with t = 2 / (2 + x) for x > 0: a Chebyshev series.
ERFC_CHEBYSHEV = (
    0.5770337386164696, 0.3554369212704984, 0.0650951588287864, 0.0036711423958366097, -0.001112844743352635,
    -0.00016075829915370075, 3.278031574174437e-05, 5.442441645535962e-06, -1.5154665554208333e-06,
    -1.4297608184293026e-07, 8.234608832908511e-08, -1.2962846589787652e-09, -4.1547216183308265e-09,
    6.347058573163977e-10, 1.4320834994054263e-10, -6.160374987906891e-11, 2.0612678230946813e-12,
    3.5715299765267818e-12, -8.587436317597508e-13, -6.187114312946765e-14, 7.378621523303406e-14,
    -1.3303842154905558e-14, -2.3215556461358183e-15, 1.7466187726692193e-15,
)  # fmt: skip
