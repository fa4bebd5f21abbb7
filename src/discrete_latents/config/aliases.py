"""What users of other templates, of Lightning and of argparse are used to writing, and what does it here."""

import re

ALIASES = {
    "ckpt_path|checkpoint|checkpoint_path|resume_from_checkpoint|trainer.resume_from_checkpoint|pretrained|ckpt": (
        "resume=RUN_DIR goes on with a run, weights=RUN_DIR starts a new one from its weights, and python eval.py "
        "run=RUN_DIR ckpt=best tests it"
    ),
    "hparams_search|hydra/sweeper|optuna|sweeper": (
        "python -m discrete_latents.search search=lr_temperature searches, and -m optimizer.lr=1e-3,1e-2 sweeps"
    ),
    "model.optimizer|model.optimizer.*": "the optimiser is a group of its own: optimizer=adamw, optimizer.lr=1e-3",
    "model.scheduler|model.scheduler.*|scheduler|scheduler.*|model.lr_scheduler|lr_scheduler|lr_scheduler.*": (
        "the learning rate over training is the group lr_schedule: constant, warmup, linear, cosine or step"
    ),
    "learning_rate|model.lr|model.learning_rate|optimizer.learning_rate|optim.lr": "it is optimizer.lr",
    "optim|optimizer.name|opt": "it is the group optimizer: adam, adamw, radam or sgd",
    "weight_decay|optimizer.weight_decay|model.weight_decay": "it is optimizer.algorithm.weight_decay",
    "betas|optimizer.betas": "it is optimizer.algorithm.betas, added with +",
    "momentum|optimizer.momentum": "it is optimizer.algorithm.momentum, of optimizer=sgd",
    "model.batch_size|trainer.batch_size|data.train_batch_size|datamodule.batch_size|bs": (
        "it is data.batch_size, and data.eval_batch_size in evaluation"
    ),
    "data.val_batch_size|data.test_batch_size|eval_batch_size": "it is data.eval_batch_size",
    "max_epochs|epochs|num_epochs|n_epochs|trainer.epochs|train.epochs|model.max_epochs": "it is trainer.max_epochs",
    "max_steps|steps|num_steps|trainer.steps": "it is trainer.max_steps",
    "patience|early_stopping|early_stopping.*|early_stop": (
        "callbacks=early_stopping stops early, callbacks.early_stopping.patience is its patience"
    ),
    "ema|swa|ema_decay|callbacks.ema_decay": "callbacks=ema and callbacks=swa average the weights; callbacks.ema.decay",
    "data_dir|data.data_dir|data.root|data.dir|datamodule.data_dir|dataset_dir|data_path": "it is paths.data_dir",
    "log_dir|logs|logdir|paths.root_dir|paths.logs": "it is paths.log_dir, in which folders of runs are made",
    "output_dir|out_dir|save_dir|run_dir|paths.work_dir": "it is hydra.run.dir, the folder of the run",
    "wandb|use_wandb|logger.name|loggers|trainer.logger": (
        "logger=[csv,wandb] logs to Weights & Biases too; logger=many_loggers, logger=null and others are --help's"
    ),
    "wandb.*": "they are logger.wandb.project, .name, .group, .tags, with logger=[csv,wandb]",
    "project|wandb_project": "it is logger.wandb.project, with logger=[csv,wandb]",
    "tensorboard|tb|tensorboard.*": "logger=[csv,tensorboard] logs to TensorBoard too",
    "mlflow|mlflow.*": "logger=[csv,mlflow] logs to MLflow too",
    "experiment_name|task_name|exp_name|run_name|name|hydra.job.id": (
        "a run is named by its experiment, and its folder is hydra.run.dir=DIR; of W&B it is logger.wandb.name"
    ),
    "seed_everything|random_seed|manual_seed|trainer.seed|model.seed": "it is seed",
    "data.num_workers|num_workers|datamodule.num_workers|data.pin_memory|pin_memory|data.persistent_workers": (
        "images are in memory here, and no worker loads them; for many threads set OMP_NUM_THREADS"
    ),
    "trainer.gpus|gpus|gpu|num_gpus|cuda|device|trainer.num_gpus|use_gpu|trainer.device": (
        "it is trainer=gpu, and trainer=ddp trainer.devices=N for several"
    ),
    "trainer.tpu_cores|trainer.num_processes|num_processes|world_size": "it is trainer=ddp trainer.devices=N",
    "devices|accelerator|precision|strategy|fast_dev_run|limit_train_batches|limit_val_batches|limit_test_batches"
    "|accumulate_grad_batches|val_check_interval|check_val_every_n_epoch|log_every_n_steps|num_sanity_val_steps"
    "|deterministic|detect_anomaly|profiler|max_time|min_epochs|num_nodes": (
        "it is trainer.{name}; with a + where the trainer has no such setting yet"
    ),
    "trainer.amp|trainer.amp_backend|trainer.amp_level|amp|fp16|bf16": "it is trainer.precision=bf16-mixed",
    "gradient_clip_val|clip|grad_clip|clip_grad_norm|max_grad_norm|gradient_clip": "it is trainer.gradient_clip_val",
    "trainer.weights_summary|extras.model_summary|model_summary": "callbacks=model_summary prints it",
    "trainer.progress_bar_refresh_rate|progress_bar|enable_progress_bar": (
        "~callbacks.progress leaves the bar out, and +callbacks.progress.refresh_rate=1 draws it once a second"
    ),
    "trainer.checkpoint_callback|trainer.enable_checkpointing|enable_checkpointing|save_top_k": (
        "callbacks.checkpoint.* are the settings of checkpoints; ~callbacks.checkpoint leaves them out"
    ),
    "trainer.auto_lr_find|trainer.auto_scale_batch_size|auto_lr_find": (
        "python -m discrete_latents.search search=lr_temperature searches a learning rate"
    ),
    "trainer.track_grad_norm|trainer.flush_logs_every_n_steps": "callbacks=gradient_statistics logs gradients",
    "extras|extras.*": "print_config=true prints the configuration, tags=[…] are words of your own",
    "dataset|data.dataset|datamodule|dataset.*": "it is the group data: digits, mnist, arrays and others",
    "network|net|model.net|model.net.*|model.encoder|arch": "it is the group model/network: model/network=cnn",
    "hidden|hidden_dim|hidden_size|model.hidden_dim|model.hidden_dims": "it is model.network.hidden, a list of widths",
    "likelihood|decoder_dist": "it is the group model/likelihood: model/likelihood=gaussian",
    "estimator|gradient_estimator|model.estimator": "it is the group latent: latent=rloo",
    "tau|temp|latent.tau|model.temperature|tau0|temperature.tau": "it is temperature.start, of the group temperature",
    "kl_weight|model.kl_weight|kl_beta|kld_weight|model.kld_weight": "it is beta.start, of the group beta",
    "kl_anneal|kl_annealing|kl_warmup|anneal": "beta=linear warms the weight of the KL up; beta.steps",
    "latent_dim|z_dim|model.latent_dim|num_latents|n_latents": "it is model.num_latents",
    "num_classes|categorical_dim|n_classes|codebook_size": "it is model.num_classes, the classes of each latent",
    "verbose|debug_mode|smoke_test": "debug=one_batch runs one batch of everything",
}
"""Names, separated by |, of which * stands for any ending, and what to set instead. {name} is the name itself."""


def meant(name: str) -> str | None:
    """What does here what a setting of another template does; None for a name that none has.

    >>> meant("learning_rate"), meant("devices")
    ('it is optimizer.lr', 'it is trainer.devices; with a + where the trainer has no such setting yet')
    """
    for names, hint in ALIASES.items():
        if any(re.fullmatch(re.escape(known).replace(r"\*", ".+"), name) for known in names.split("|")):
            return hint.replace("{name}", name)
    return None
