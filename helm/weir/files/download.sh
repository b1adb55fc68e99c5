# Fetches the pinned revision into the cache of the hub's client and compares checksums. A guard starts only if this
# ends with 0, and then without access to the hub. Weights in formats that can hold code, and code, are not fetched.
set -eu
snapshot="$(hf download "$MODEL" --revision "$REVISION" --quiet \
  --exclude '*.bin' --exclude '*.pt' --exclude '*.pth' --exclude '*.pkl' --exclude '*.ckpt' --exclude '*.h5' \
  --exclude '*.msgpack' --exclude '*.gguf' --exclude '*.onnx' --exclude '*.py' | tail -n 1)"
cd "$snapshot"
for file in *.safetensors; do
  grep -q "  $file\$" "/etc/weir-model/$SUMS" || { echo "modelCache.download.$SUMS does not name $file" >&2; exit 1; }
done
sha256sum --check --strict "/etc/weir-model/$SUMS"
