"""Functions that LLVM may call without being asked to: an image has no C library, so it brings its own."""

from __future__ import annotations

_X86_64 = """
define hidden ptr @memset(ptr %to, i32 %byte, i64 %count) nounwind {
  %low = trunc i32 %byte to i8
  call { ptr, i64 } asm sideeffect "rep stosb", "={di},={cx},{al},0,1,~{memory},~{dirflag},~{fpsr},~{flags}"(
    i8 %low, ptr %to, i64 %count)
  ret ptr %to
}

define hidden ptr @memcpy(ptr %to, ptr %from, i64 %count) nounwind {
  call { ptr, ptr, i64 } asm sideeffect "rep movsb", "={di},={si},={cx},0,1,2,~{memory},~{dirflag},~{fpsr},~{flags}"(
    ptr %to, ptr %from, i64 %count)
  ret ptr %to
}

define hidden ptr @memmove(ptr %to, ptr %from, i64 %count) nounwind {
  %a = ptrtoint ptr %to to i64
  %b = ptrtoint ptr %from to i64
  %ahead = sub i64 %a, %b
  %overlaps = icmp ult i64 %ahead, %count
  br i1 %overlaps, label %backward, label %forward
forward:
  call { ptr, ptr, i64 } asm sideeffect "rep movsb", "={di},={si},={cx},0,1,2,~{memory},~{dirflag},~{fpsr},~{flags}"(
    ptr %to, ptr %from, i64 %count)
  ret ptr %to
backward:
  %end = sub i64 %count, 1
  %last_to = getelementptr i8, ptr %to, i64 %end
  %last_from = getelementptr i8, ptr %from, i64 %end
  call { ptr, ptr, i64 } asm sideeffect
    "std; rep movsb; cld", "={di},={si},={cx},0,1,2,~{memory},~{dirflag},~{fpsr},~{flags}"(
    ptr %last_to, ptr %last_from, i64 %count)
  ret ptr %to
}
"""

SUPPORT = {"x86_64": _X86_64}
"""LLVM IR by architecture."""

NAMES = ("memset", "memcpy", "memmove")
