"""Certificates for tests, made with the openssl program."""

import subprocess

from conftest import find_tool


class Authority:
    """Signs what a test asks for; <name>.pem and <name>.key in its folder."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.ca_file = folder / "authority.pem"
        self._key("authority")
        self._run("req", "-x509", "-new", "-key", folder / "authority.key", "-out", self.ca_file,
                  "-subj", f"/CN=authority of {folder.name}", "-days", "2")

    def issue(self, name, alternative="IP:127.0.0.1", days=2):
        """days < 0: already expired."""
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        self._key(name)
        self._run("req", "-new", "-key", self.folder / f"{name}.key", "-out", request, "-subj",
                  f"/CN={name}")
        extensions.write_text(f"subjectAltName={alternative}\n")
        self._run("x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey",
                  self.folder / "authority.key", "-CAcreateserial", "-days", str(days), "-out",
                  self.folder / f"{name}.pem", "-extfile", extensions)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _key(self, name):
        self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
                  self.folder / f"{name}.key")
        (self.folder / f"{name}.key").chmod(0o644)

    @staticmethod
    def _run(*arguments):
        subprocess.run([find_tool("openssl"), *map(str, arguments)], check=True,
                       capture_output=True)
