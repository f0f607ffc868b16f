# Sets $python to a Python that Weft runs on; ends the script with one sentence where there is none.
python=
for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info)' >/dev/null 2>&1; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "Weft needs Python 3.11 or newer, and none was found: install it (Debian and Ubuntu: apt-get install python3 python3-venv; macOS: brew install python; or python.org) and run this again." >&2
  exit 1
fi
