# Print a checksum of all files that the stand-in is built from; $here is the folder of this file.
sources() {
    cat "$here"/requirements.txt "$here"/build.py "$here"/src/* \
        "$here"/../../gpucnn/emulator/runtime/*.h | cksum
}
