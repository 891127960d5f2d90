"""The example of the multi-view-AE tutorial (https://arxiv.org/abs/2403.07456, section 6), with another import.

It reads MNIST from a folder with its IDX files, or draws the digits that ship with scikit-learn as large as MNIST's:

    cd examples
    python tutorial.py [folder]
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
    large = np.pad(digits.images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    data_img = torch.tensor(large.reshape(-1, 784) / 16.0).float()
    target = torch.tensor(digits.target)
data_txt = F.one_hot(target, 10)
data_txt = data_txt.type(torch.FloatTensor)

# Define parameters
input_dims = [784, 10]
max_epochs = 50
batch_size = 2000 if len(data_img) > 2000 else 100
latent_dim = 20

# Define model
mmvae = mmVAE(
    cfg="./config/MNIST_image_text.yaml",
    input_dim=input_dims,
    z_dim=latent_dim,
)

# Train the model
print("fit mmvae")
mmvae.fit(data_img, data_txt, max_epochs=max_epochs, batch_size=batch_size)

# Predict reconstructions
pred = mmvae.predict_reconstruction(data_img, data_txt)

# indices: view 1 latent, view 1 decoder, sample 21
pred_sample = pred[0][0][20]
data_sample = data_img[20]

fig, axarr = plt.subplots(1, 2)
axarr[0].imshow(data_sample.reshape(28, 28))
axarr[1].imshow(pred_sample.reshape(28, 28))
PICTURE.parent.mkdir(exist_ok=True)
fig.savefig(PICTURE)
print(f"sample 21 and its reconstruction are in {PICTURE}")
