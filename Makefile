# The front door. `make demo` and `make test` install what is missing; the rest assume it is there.
.PHONY: all demo test bench install clean

all:
	cmake --preset release >/dev/null
	cmake --build build

install: all
	cmake --install build

clean:
	rm -rf build build-*
