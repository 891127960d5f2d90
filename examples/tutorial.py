"""The example of the multi-view-AE tutorial, with scikit-learn's digits for MNIST: image and one-hot label.

What the tutorial imports from multiviewae comes from manyview; the configuration keeps that library's layout.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from manyview.models import mmVAE

# Load the digits
digits = load_digits()
data_img = torch.Tensor(digits.data / 16)
data_txt = F.one_hot(torch.as_tensor(digits.target), 10).type(torch.FloatTensor)

# Define parameters
input_dims = [64, 10]
max_epochs = 50
batch_size = 200
latent_dim = 20

# Define model
mmvae = mmVAE(
    cfg=Path(__file__).with_name("config") / "digits_image_text.yaml",
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

figure = Figure()
axarr = figure.subplots(1, 2)
axarr[0].imshow(data_sample.reshape(8, 8))
axarr[1].imshow(pred_sample.reshape(8, 8))
figure.savefig("tutorial.png")
print("The digit and its reconstruction are in tutorial.png.")
