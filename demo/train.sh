#!/usr/bin/env bash
# Trains everything in demo/ again, with the commands that users have, from openly licensed data. `make adapters` runs it.
# What is finished is not repeated, so it may be stopped and started again. GLOSSA_DATA_DIR names the folder of data.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${GLOSSA_DATA_DIR:?set it to the folder that holds the data sets; most texts cannot be downloaded}"
export GLOSSA_HOME="${GLOSSA_HOME:-$PWD/.cache/demo}"
unset GLOSSA_BACKBONE DATABASE_URL GLOSSA_BLOB_URL

glossa pretrain --output demo/backbone \
    --language en=text-eng --language ar=text-ara --language ha=text-hau --language hi=text-hin \
    --language id=text-ind --language rw=text-kin --language pt=text-por --language sw=text-swa \
    --language tr=text-tur --language zh=text-zho

# Yoruba, Zulu and Luganda are languages that the backbone has never seen.
for pair in en=text-eng sw=text-swa ha=text-hau yo=text-yor pt=text-por zh=text-zho zu=text-zul lg=text-lug; do
    code="${pair%%=*}"
    glossa train language --language "$code" --data "${pair#*=}" --name "lang-$code" \
        --recipe demo --backbone demo/backbone
done

glossa train task --task ner --data uner-english-ewt --language en --language-adapter lang-en --name ner \
    --recipe demo --backbone demo/backbone

for name in lang-en lang-sw lang-ha lang-yo lang-pt lang-zh lang-zu lang-lg ner; do
    glossa adapters pull "$name" --output "demo/adapters/$name"
done
