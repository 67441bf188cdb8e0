"""What the commands of `keras-htaf` do. Their options are in `keras_htaf_cli`, without Keras."""
