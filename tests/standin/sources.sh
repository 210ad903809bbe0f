# What setup and run share; $here is the folder of this file.

# Print a checksum of all files that the stand-in is built from.
sources() {
    cat "$here"/requirements.txt "$here"/build.py "$here"/src/* \
        "$here"/../../gpucnn/emulator/runtime/*.h | cksum
}

# Print a path as it is to be typed.
quoted() {
    case $1 in
    *[!A-Za-z0-9_./+-]*) printf "'%s'" "$1" ;;
    *) printf '%s' "$1" ;;
    esac
}

# End with a message.
refuse() {
    echo "$0: $1" >&2
    exit 2
}
