"""The two shapes of latents on which estimators are compared."""

SETTINGS = {"categorical": (), "bernoulli": ("model.num_latents=200", "model.num_classes=2")}
"""By name, the settings of a model. What an experiment has is categorical."""

TITLES = {"categorical": "20×10 categorical", "bernoulli": "200 Bernoulli"}
