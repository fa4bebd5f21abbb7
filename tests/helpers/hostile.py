"""What somebody else's run may try: targets that run code, read or write files, or talk to the network."""

TARGETS = (
    *("os.system", "os.popen", "os.remove", "os.unlink", "os.rename", "os.mkdir", "os.kill", "os.execv", "os.putenv"),
    *("posix.system", "subprocess.run", "subprocess.Popen", "subprocess.check_output", "subprocess.call", "pty.spawn"),
    *("builtins.open", "builtins.exec", "builtins.eval", "builtins.__import__", "builtins.compile", "builtins.print"),
    *("io.open", "codecs.open", "pathlib.Path.unlink", "pathlib.Path.write_text", "pathlib.Path", "shutil.rmtree"),
    *("shutil.copy", "shutil.move", "tempfile.mkdtemp", "zipfile.ZipFile", "tarfile.open", "sqlite3.connect"),
    *("urllib.request.urlopen", "urllib.request.urlretrieve", "http.client.HTTPConnection", "socket.create_connection"),
    *("smtplib.SMTP", "ftplib.FTP", "webbrowser.open", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open"),
    *("importlib.import_module", "importlib.reload", "pkgutil.resolve_name", "runpy.run_path", "runpy.run_module"),
    *("ctypes.CDLL", "ctypes.cdll.LoadLibrary", "code.interact", "timeit.timeit", "functools.partial", "sys.exit"),
    *("threading.Thread", "multiprocessing.Process", "logging.config.dictConfig", "logging.FileHandler"),
    *("hydra.utils.instantiate", "hydra.utils.call", "hydra.utils.get_method", "hydra.utils.get_class"),
    *("omegaconf.OmegaConf.load", "omegaconf.OmegaConf.register_new_resolver", "yaml.unsafe_load"),
    *("numpy.load", "numpy.save", "numpy.fromfile", "numpy.memmap", "joblib.load", "pandas.read_pickle"),
    *("torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.ops.load_library", "torch.compile"),
    *("torch.utils.cpp_extension.load", "torch.utils.data.DataLoader", "torch.nn.os.system", "torch.optim.os.system"),
    *("torch.nn.init.normal_", "torch.nn.functional.relu", "torch.nn.modules.module.torch.load"),
    *("torch.optim.lr_scheduler.LambdaLR", "torchvision.datasets.MNIST", "torchvision.io.read_image"),
    *("lightning.pytorch.LightningModule.load_from_checkpoint", "lightning.pytorch.cli.LightningCLI"),
    *("lightning.pytorch.callbacks.os.system", "lightning.pytorch.seed_everything", "lightning.fabric.Fabric"),
    *("lightning.pytorch.strategies.DeepSpeedStrategy", "lightning.pytorch.plugins.AsyncCheckpointIO"),
    *("discrete_latents.cli.train_main", "discrete_latents.load_run", "discrete_latents.api.load_run"),
    *("discrete_latents.atomic_write.atomic_write", "discrete_latents.config.instantiate.make"),
    *("discrete_latents.data.sources.map_array", "discrete_latents.data.mnist_files.download"),
    *("discrete_latents.models.latent_model.torch.load", "discrete_latents.latent.sampler.torch.hub.load"),
    *("discrete_latents.callbacks.checkpoint.WholeFiles", "discrete_latents.runs.results.subprocess.run"),
    *("discrete_latents.latent.straight_through_argmax", "discrete_latents.networks.nn.Linear"),
    *("wandb.init", "optuna.create_study", "PIL.Image.open", "nowhere.Nothing", "no_dots", "", "..os.system"),
    *("os.system ", " os.system", "os:system", "os.system\n", "оs.system"),  # the last with a Cyrillic letter
)

GROUPS = ("model.likelihood", "callbacks.evil", "data.source")
"""A place of each of three groups."""
