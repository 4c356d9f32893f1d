"Everything the package says about itself stands in settings.ini; this file only reads it."

import re
from configparser import ConfigParser
from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).resolve().parent
settings = ConfigParser(delimiters=["="])
settings.read(root / "settings.ini", encoding="utf-8")
cfg = settings["DEFAULT"]

statuses = [
    "1 - Planning",
    "2 - Pre-Alpha",
    "3 - Alpha",
    "4 - Beta",
    "5 - Production/Stable",
    "6 - Mature",
    "7 - Inactive",
]
readme = root / "README.md"


def from_anywhere(text):
    "Markdown whose pictures and links work outside of the checkout: on the page of a package index."
    raw = cfg["git_url"].replace("github.com", "raw.githubusercontent.com") + f"/{cfg['branch']}/"
    page = f"{cfg['git_url']}/blob/{cfg['branch']}/"
    near = r"\]\((?![a-z]+:|/|#)"
    text = re.sub(rf"(!\[[^]]*{near})", rf"\g<1>{raw}", text)
    return re.sub(rf"({near})", rf"\g<1>{page}", text)


class BuildWithStudies(build_py):
    "A wheel carries the studies and recipes of nbs/; an editable installation finds them in the checkout."

    def run(self):
        "As usual, then copy them."
        super().run()
        if self.editable_mode:
            return
        for kind in ("studies", "recipes"):
            to = Path(self.build_lib) / cfg["lib_path"] / "shipped" / kind
            copytree(root / "nbs" / kind, to, ignore=ignore_patterns(".*"), dirs_exist_ok=True)


def listed(name):
    "Requirements, one a line, as an environment marker has spaces."
    return cfg[name].strip().splitlines()


extras = {name: listed(f"{name}_requirements") for name in ("video", "studies", "grid")}
extras["studies"] += extras["video"]
extras["dev"] = [*extras["studies"], *extras["grid"], *cfg["dev_requirements"].split()]

setup(
    cmdclass={"build_py": BuildWithStudies},
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=from_anywhere(readme.read_text(encoding="utf-8"))
    if readme.exists()
    else cfg["description"],
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    url=cfg["git_url"],
    keywords=cfg["keywords"].split(),
    classifiers=[
        "Development Status :: " + statuses[int(cfg["status"]) - 1],
        "Intended Audience :: Science/Research",
        "Natural Language :: " + cfg["language"],
        "Programming Language :: Python :: 3",
    ],
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    python_requires=">=" + cfg["min_python"],
    install_requires=listed("requirements"),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
