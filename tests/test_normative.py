"""Normative modelling of real data: models of benign tumours tell malignant ones from unseen benign ones."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import manyview as mv
from manyview.metrics import latent_deviation


@pytest.mark.parametrize(("cls", "z_dim"), [(mv.MVAE, 10), (mv.MoPoEVAE, 2)])
def test_malignant_tumours_deviate_from_benign_ones(cls, z_dim):
    """Half of the benign train, a quarter are the reference; of the other benign ones, 10 % should have p < 0.1."""
    views, label = mv.datasets.load_breast_cancer_views()
    benign = label == "benign"
    order = np.random.default_rng(0).permutation(np.flatnonzero(benign))
    train, reference, held_out = np.split(order, [len(order) // 2, len(order) * 3 // 4])
    test = np.concatenate([held_out, np.flatnonzero(~benign)])
    linear = {"hidden": []}
    model = cls(
        z_dim=z_dim,
        encoder=linear,
        decoder=linear,
        learning_rate=1e-2,
        max_epochs=300,
        validation_fraction=0,
        random_state=0,
        verbose=False,
    ).fit(views[train])
    found = latent_deviation(model, views[test], views[reference])
    malignant = ~benign[test]
    assert roc_auc_score(malignant, found.distance) > 0.93
    assert (found.p_value[malignant] < 0.1).mean() > 0.7
    assert (found.p_value[~malignant] < 0.1).mean() < 0.25
