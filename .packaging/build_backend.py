"""setuptools, with the list of the source distribution's files kept here: the top level has no room for it."""

from setuptools.build_meta import *  # noqa: F403 (the hooks that pip calls)
from setuptools.command.egg_info import manifest_maker

manifest_maker.template = ".packaging/MANIFEST.in"
