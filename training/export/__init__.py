"""From a trained model to a bundle: ONNX in int8, the gate, calibration, the card."""
