"""The example of the multi-view-AE tutorial (https://arxiv.org/abs/2403.07456, section 6), with another import.

It runs on the handwritten digits that ship with scikit-learn; on MNIST if told where its four IDX files are:

    python examples/tutorial.py [folder]
"""

import gzip
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from manyview.models import mmVAE

CONFIG = Path(__file__).parent / "config" / "digits_image_text.yaml"
PICTURE = Path("demo/tutorial.png")


def read_idx(path, header):
    """The bytes of an IDX file after its header, unpacked if it is a .gz file."""
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    return np.frombuffer(content, dtype=np.uint8, offset=header)


# Load the data
if len(sys.argv) > 1:
    folder = Path(sys.argv[1])
    data_img = torch.tensor(read_idx(folder / "train-images-idx3-ubyte", 16).reshape(-1, 784) / 255.0).float()
    target = torch.tensor(read_idx(folder / "train-labels-idx1-ubyte", 8)).long()
else:
    digits = load_digits()
    data_img = torch.tensor(digits.data / 16.0).float()
    target = torch.tensor(digits.target)
data_txt = F.one_hot(target, 10)
data_txt = data_txt.type(torch.FloatTensor)

# Define parameters
input_dims = [data_img.shape[1], 10]
max_epochs = 50
batch_size = 2000 if len(data_img) > 2000 else 100
latent_dim = 20

# Define model
mmvae = mmVAE(cfg=CONFIG, input_dim=input_dims, z_dim=latent_dim)

# Train the model
print("fit mmvae")
mmvae.fit(data_img, data_txt, max_epochs=max_epochs, batch_size=batch_size)

# Predict reconstructions
pred = mmvae.predict_reconstruction(data_img, data_txt)

# indices: view 1 latent, view 1 decoder, sample 21
pred_sample = pred[0][0][20]
data_sample = data_img[20]

side = int(input_dims[0] ** 0.5)
fig, axarr = plt.subplots(1, 2)
axarr[0].imshow(data_sample.reshape(side, side))
axarr[1].imshow(pred_sample.reshape(side, side))
PICTURE.parent.mkdir(exist_ok=True)
fig.savefig(PICTURE)
print(f"sample 21 and its reconstruction are in {PICTURE}")
