"""TensorBoard's panels and the event files that hold them."""
