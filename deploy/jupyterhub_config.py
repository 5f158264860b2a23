"""What a hub gives to its students' servers. `make hub` and its tests use this file, The Littlest JupyterHub and Zero
to JupyterHub read it after their own settings. `install.sh` makes the folder ROADSEG_HUB that it refers to.

Environment variables of the hub:

    ROADSEG_HUB                the folder: by default /srv/roadseg
    ROADSEG_HUB_IDLE           seconds after which a kernel that does nothing is shut down: by default 3600
    ROADSEG_HUB_DEMONSTRATION  number of students of a demonstration on this machine: by default there is none
    ROADSEG_DATA               real images for everybody: by default the rendered scenes
    ROADSEG_EPOCHS             the most epochs of a training run: by default no limit
"""

import os
import secrets
import stat
import sys
from pathlib import Path

c = get_config()  # noqa: F821 (JupyterHub runs this file, and defines it)
hub = Path(os.environ.get("ROADSEG_HUB", "/srv/roadseg"))
idle = int(os.environ.get("ROADSEG_HUB_IDLE", 3600))

# Images, their cache and the teacher's runs are shared and read-only; own runs and notebooks are in each home.
c.Spawner.environment = {
    "PATH": f"{hub}/python/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": f"{hub}/teacher/project",  # which Python passes over where it may not be read
    "ROADSEG_HUB": str(hub),
    "ROADSEG_HOME": "~",
    "ROADSEG_DATA": os.environ.get("ROADSEG_DATA", f"{hub}/data/scenes"),
    "ROADSEG_CACHE": f"{hub}/cache",
    "ROADSEG_SHARED_RUNS": f"{hub}/runs",
    "ROADSEG_EPOCHS": os.environ.get("ROADSEG_EPOCHS", ""),
}
c.Spawner.cmd = [f"{hub}/python/bin/jupyterhub-singleuser"]
c.Spawner.notebook_dir = "~"
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = c.Spawner.start_timeout = 300  # seconds; when a whole class logs in at once

# A kernel that trains is not idle. A server without kernels and terminals ends itself.
c.Spawner.args = [
    f"--MappingKernelManager.cull_idle_timeout={idle}",
    f"--MappingKernelManager.cull_interval={max(1, idle // 10)}",
    "--MappingKernelManager.cull_connected=True",
    f"--TerminalManager.cull_inactive_timeout={idle}",
    f"--TerminalManager.cull_interval={max(1, idle // 10)}",
    f"--ServerApp.shutdown_no_activity_timeout={idle}",
    """--ServerApp.tornado_settings={"websocket_max_message_size": 104857600}""",  # a photo that is uploaded
    """--ServerApp.terminado_settings={"shell_command": ["bash"]}""",  # a login shell would forget PATH
    "--ContentsManager.pre_save_hook=roadseg.workbook.without_widgets",
]

if students := int(os.environ.get("ROADSEG_HUB_DEMONSTRATION", 0)):
    exchange = hub / "exchange"
    if not exchange.is_dir() or stat.S_IMODE(exchange.stat().st_mode) != 0o1777:
        sys.exit(f"{exchange} is not a folder that everybody may write to: chmod 1777 {exchange}")
    passwords = hub / "passwords"
    if not passwords.exists():
        passwords.touch(mode=0o600)
        passwords.write_text(f"{secrets.token_hex(4)} {secrets.token_hex(16)}")
    for_students, for_teacher = passwords.read_text().split()
    port = int(os.environ.get("ROADSEG_HUB_PORT", 8000))
    names = [f"demo-student-{i + 1}" for i in range(students)]
    c.JupyterHub.authenticator_class = "shared-password"  # anyone who knows it is any student: demonstrations only
    c.SharedPasswordAuthenticator.user_password = for_students
    c.SharedPasswordAuthenticator.admin_password = for_teacher
    c.Authenticator.allowed_users = set(names)
    c.Authenticator.admin_users = {"demo-teacher"}
    c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
    c.JupyterHub.hub_port = port + 1
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 2}"
    c.ConfigurableHTTPProxy.command = [f"{hub}/proxy/node_modules/.bin/configurable-http-proxy"]
    c.JupyterHub.log_level = "WARN"
    if os.geteuid() != 0:
        c.JupyterHub.spawner_class = "simple"
        c.SimpleLocalProcessSpawner.home_dir_template = f"{hub}/homes/{{username}}"
    print(f"http://127.0.0.1:{port}  demo-teacher: {for_teacher}  {', '.join(names)}: {for_students}", flush=True)
