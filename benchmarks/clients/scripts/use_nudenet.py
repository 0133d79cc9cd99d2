"""Faces and the like in a photograph."""

import cv2
from nudenet import NudeDetector
from show import show
from skimage import data

found = NudeDetector().detect(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
show(detections=sorted(found, key=lambda d: -d["score"]))
