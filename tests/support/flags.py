"""Each flag of a field of a study or its recipe: as it is written, and what the field then is."""

GIVEN = {
    "primary": ("psa,window", "psa,window"), "delta": ("0.2", 0.2),
    # each flag of a field, as it is written; what the field then is
    "variants": ("psa,sa", "psa,sa"), "baseline": ("psa", "psa"), "seeds": ("1-2", (1, 2)),
    "resolutions": ("8,8x16", (8, (8, 16))), "finetune_epochs": ("3", 3), "train_fractions": ("0.5,1", (0.5, 1.0)),
    "match": ("gmac", "gmac"), "reach": ("80,90", (80.0, 90.0)), "measure": ("cost,speed", ("cost", "speed")),
    "dataset": ("cifar10", "cifar10"), "data_dir": ("here", "here"), "train_images": ("500", 500),
    "canvas": ("14", 14), "clutter": ("3", 3), "object_size": ("7", 7), "places": ("2", 2),
    "background": ("black", "black"), "allow_skipped": ("0.2", 0.2),
    "img_size": ("16", 16), "workers": ("2", 2), "size": ("tiny", "tiny"), "patch_size": ("4", 4),
    "num_heads": ("2", 2), "class_token": ("none", "none"), "spatial_layers": ("1", 1), "pos_embed": ("none", "none"),
    "pos_std": ("0.1", 0.1), "peg": (None, True), "val_interval": ("2", 2), "backend": ("eager", "eager"),
    "torchcompile": (None, True), "jobs": ("2", 2), "threads": ("3", 3), "checkpoint_interval": ("1.5", 1.5),
    "speed_rounds": ("7", 7), "tune": ("lr", "lr"), "tune_seeds": ("2", 2), "init_from": ("timm:vit", "timm:vit"),
    "epochs": ("9", 9), "batch_size": ("32", 32), "lr": ("0.1", 0.1), "min_lr": ("0", 0.0), "warmup_lr": ("0.2", 0.2),
    "warmup_epochs": ("2", 2), "cooldown_epochs": ("1", 1), "weight_decay": ("0.3", 0.3), "smoothing": ("0.2", 0.2),
    "drop_path": ("0.4", 0.4), "clip_grad": ("2", 2.0), "crop_pad": ("1", 1), "scale": ("0.5 0.9", (0.5, 0.9)),
    "hflip": ("0.6", 0.6), "color_jitter": ("0.7", 0.7), "aa": ("rand-m9", "rand-m9"), "aug_repeats": ("2", 2),
    "reprob": ("0.8", 0.8), "mixup": ("0.9", 0.9), "cutmix": ("1.1", 1.1), "mixup_prob": ("0.3", 0.3),
    "mixup_switch_prob": ("0.4", 0.4), "model_ema": (None, True), "model_ema_decay": ("0.9", 0.9),
    "model_ema_warmup": (None, True), "mixtoken": ("1", 1.0), "cls_weight": ("0.5", 0.5), "dense_weight": ("2", 2.0),
    "distill": ("hard", "hard"), "distillation_alpha": ("0.3", 0.3), "distillation_tau": ("2", 2.0),
    "token_labels": ("maps", "maps"), "teacher": ("timm:resnet18", "timm:resnet18"), "aux_head": (None, True),
    "distilled": (None, True),
}  # fmt: skip
LABELLED, TAUGHT = ("--token-labels", "maps", "--aux-head"), ("--distill", "soft", "--teacher", "resnet10t")
WITH = {  # a flag that has an effect beside others alone: these, which it may replace
    "tune_seeds": ("--tune", "lr"), "cls_weight": LABELLED, "dense_weight": LABELLED, "token_labels": ("--aux-head",),
    "distill": TAUGHT, "teacher": TAUGHT, "distillation_alpha": TAUGHT, "distillation_tau": TAUGHT,
}  # fmt: skip
