"""What jails can see: the host's programs under no name, and each image under its own.

All of them are staged when the sandbox opens, so that a wrong path or a broken image is the
operator's at the start, and never a task's later.
"""

from __future__ import annotations

import os

from msgspec import Struct

from sandbox import images, mounts
from sandbox.exposing import resolve_exposed
from sandbox.images import ImageSource
from sandbox.job import SIDES, SandboxConfig
from sandbox.staging import stage_root, taken_paths

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class View(Struct, frozen=True, kw_only=True):
    """One root file system, staged."""

    root: str
    #: Where programs are looked for.
    path: str
    #: None: this host's programs.
    image: ImageSource | None
    #: Trees of the host that it shows beside the system's.
    exposed: tuple[str, ...] = ()


def stage_views(work_root: str, config: SandboxConfig) -> dict[str, View]:
    """Mount the work root and everything that does not change while the sandbox is open.

    Raises Rejected naming the setting at fault.
    """
    exposed = resolve_exposed(config.exposed, taken_paths(), work_root)
    sources = images.resolve_images(config.images)
    mounts.mount("khala", work_root, "tmpfs", flags=mounts.NOSUID, options="mode=0711,size=1m")
    # What is made here must be open to the slots' users, whatever the service's own files are.
    umask = os.umask(0o022)
    try:
        root = f"{work_root}/root"
        os.mkdir(root, 0o755)
        stage_root(root, exposed)
        for slot in range(config.slots):
            os.mkdir(f"{work_root}/{slot}", 0o711)
            for side in SIDES:
                for name in ("", "/source", "/tmp"):
                    os.mkdir(f"{work_root}/{slot}/{side}{name}", 0o711)
        staged = {image.name: _stage_image(work_root, image) for image in sources}
    finally:
        os.umask(umask)
    programs = [each.programs for each in exposed if each.programs is not None]
    own = View(
        root=root,
        path=":".join([*programs, _PATH]),
        image=None,
        exposed=tuple(each.source for each in exposed),
    )
    return {"": own, **staged}


def _stage_image(work_root: str, image: ImageSource) -> View:
    top = f"{work_root}/images/{image.name}"
    os.makedirs(f"{top}/root", mode=0o755)
    if image.is_file:
        os.mkdir(f"{top}/file")
    images.stage(image, f"{top}/root", f"{top}/file")
    return View(root=f"{top}/root", path=_PATH, image=image)
