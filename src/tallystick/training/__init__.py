"""What is done where a model is trained, or with a model that is there: a reference is captured into its artifact.

`tallystick.log_model`, `save_model` and `autolog`, and the command `tallystick reference`. May import MLflow and
pandas; what a flavor needs (scikit-learn, xgboost, lightgbm) is there when there is such a model.
"""
