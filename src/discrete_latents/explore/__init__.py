"""A page in which a trained model is tried by hand: the class of each latent is clicked, the decoder draws."""
