#!/bin/sh
# A hub on this machine, to try: deploy/demonstration.sh FOLDER [yes] [STUDENTS]
# As root, `yes` allows to make the accounts demo-teacher, demo-student-1 and so on, without passwords.
set -eu
deploy=$(cd "$(dirname "$0")" && pwd)
hub=$1
students=${3:-3}
if [ "$(id -u)" -eq 0 ]; then
    for name in demo-teacher $(seq -f "demo-student-%g" "$students"); do
        id "$name" >/dev/null 2>&1 && continue
        if [ "${2:-}" != yes ]; then
            echo "There is no account $name: make hub ACCOUNTS=yes makes it and the others (userdel -r removes them)." >&2
            exit 1
        fi
        useradd --create-home --key HOME_MODE=0700 --shell /bin/bash "$name"
    done
    if runuser -u demo-student-1 -- test -r "$deploy/../notebooks/01_simple_model.ipynb"; then
        echo "Students can read the worked notebooks in $(dirname "$deploy"): chmod o-rx $(dirname "$deploy") prevents it."
    fi
else
    echo "Not root, so all demonstration users share your account: their homes are apart, but NOT safe from each other."
fi
[ -d "$hub/exchange/course/outbound" ] || "$deploy/install.sh" "$hub" demo-teacher
mkdir -p "$hub/state"
chmod 700 "$hub/state"
cd "$hub/state"
export ROADSEG_HUB="$hub" ROADSEG_HUB_DEMONSTRATION="$students"
exec "$hub/python/bin/jupyterhub" -f "$deploy/jupyterhub_config.py"
