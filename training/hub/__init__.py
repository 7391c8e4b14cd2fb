"""The Hugging Face hub's conventions: a run as its folders, its checkpoints as bundles."""
