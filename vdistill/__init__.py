"Video dataset distillation; what is reached for most is here, and imported when it is first used."

__version__ = "0.1.0"

LAZY = {  # name → module that has it
    "load": "storage",
    "DistilledClips": "storage",
    "open_clips": "datasets",
    "distill": "distillation",
    "judge": "evaluation",
    "rows": "rows",
}


def __getattr__(name):
    "`load` is `load_memory`, `rows` the module; the others are what their modules call so."
    from importlib import import_module

    if name not in LAZY:
        raise AttributeError(f"module 'vdistill' has no attribute {name!r}")
    module = import_module(f"vdistill.{LAZY[name]}")
    return {"rows": module, "load": getattr(module, "load_memory", None)}.get(name) or getattr(module, name)


def __dir__():
    "Also what is not imported yet."
    return sorted({*globals(), *LAZY})
