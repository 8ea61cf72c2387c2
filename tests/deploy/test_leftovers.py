"""What is looked for of a live move that is over: directories of images, criu by its command line."""

import pytest
from _testbed import leftovers
from _testbed.settings import Settings

LOADER = "/p/.cache/criu/usr/lib64/ld-linux-x86-64.so.2 --library-path /p/.cache/criu/usr/lib/x86_64-linux-gnu"


def test_images_are_found_on_every_node_s_own_disk(tmp_path):
    settings = Settings(directory=str(tmp_path))
    own = {node.name: settings.node_dir(node) / "private/root/node" for node in settings.nodes}
    found = [own["gpu-master"] / "moves/offload_1_2/image", own["gpu1"] / "attempts/JOB.1/image"]
    for directory in found:
        directory.mkdir(parents=True)
    (own["gpu2"] / "bin").mkdir(parents=True)
    (own["gpu2"] / "bin/image").touch()
    assert leftovers.images(settings) == [f"{directory} is left" for directory in found]


@pytest.mark.parametrize(
    ("line", "action"),
    [
        (f"{LOADER} /p/.cache/criu/usr/sbin/criu dump --no-default-config --images-dir /x/moves/M/image", "dump"),
        ("/bin/sh /p/.cache/criu/criu restore --no-default-config --images-dir /x/attempts/J.1/image", "restore"),
        ("/usr/sbin/criu page-server --no-default-config --images-dir /x/attempts/J.1/image", "page-server"),
        ("/usr/bin/python3 -I /x/bin/launcher-1.pyz criu /p/.cache/criu/criu", None),
        ("vim /usr/sbin/criu", None),
    ],
)
def test_criu_is_known_by_what_it_does(line, action):
    found = leftovers.CRIU.search(line)
    assert (found and found[1]) == action
