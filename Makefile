# The front door. `make demo` and `make test` install what is missing; the rest assume it is there
# (scripts/install-packages.sh).
.PHONY: all demo test bench install clean

JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
export INGESTOR_TOOLS ?= $(HOME)/.cache/ingestor-tools

all:
	@cmake --preset release -DINGESTOR_TESTS=OFF >/dev/null
	@cmake --build build -j $(JOBS)

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

bench:
	@scripts/install-packages.sh test
	@scripts/bench.sh

install: all
	@cmake --install build --prefix "$(PREFIX)"

clean:
	rm -rf build build-*
