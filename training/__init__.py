"""From gold to a bundle: data, multi-head encoder, trainer, export, calibration and evaluation."""
