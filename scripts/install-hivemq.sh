#!/bin/bash
# Installs HiveMQ CE, the MQTT broker of another make that the QoS 2 tests talk to, pinned in
# tests/tools/hivemq/pom.xml, into a cache that is kept between runs (INGESTOR_TOOLS, default
# ~/.cache/ingestor-tools). Does nothing where it is. Needs a JDK (11 or newer) and Maven, whose
# repository is only read: 100 MB in half a minute.
set -euo pipefail

here=$(cd "$(dirname "$0")/../tests/tools/hivemq" && pwd)
tools=${INGESTOR_TOOLS:-$HOME/.cache/ingestor-tools}
folder=$tools/hivemq

mkdir -p "$tools/bin"
exec 9>"$tools/.hivemq.lock"
flock 9
if [ -x "$tools/bin/hivemq" ] && cat "$here/pom.xml" "$here/Broker.java" | cmp -s - "$folder/.pins"; then
    exit 0
fi
for program in javac mvn; do
    if ! command -v $program >/dev/null; then
        echo "install-hivemq: needs $program (apt-get install default-jdk-headless maven)" >&2
        exit 1
    fi
done
rm -rf "$folder"
mkdir -p "$folder"
cp "$here/pom.xml" "$here/Broker.java" "$folder"
echo "installing HiveMQ into $folder …"
(cd "$folder" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib -DincludeScope=runtime)
javac -cp "$folder/lib/*" -d "$folder" "$folder/Broker.java"
cat >"$tools/bin/hivemq" <<END
#!/bin/bash
exec java -Xmx1g -XX:+UseSerialGC -cp "$folder/lib/*:$folder" Broker "\$@"
END
chmod +x "$tools/bin/hivemq"
cat "$here/pom.xml" "$here/Broker.java" >"$folder/.pins"
