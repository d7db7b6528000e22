#!/bin/sh
# A device with openssl 3 and curl alone: it pairs, waits for the approval,
# exchanges its grant and asks the gateway who it is.
# usage: device.sh API_URL GATEWAY_URL SCOPE[,SCOPE]... [KEY_FILE]
set -eu
[ $# -eq 3 ] || [ $# -eq 4 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
api=${1%/} gateway=${2%/} scopes=$3 key=${4:-device.key}
umask 077
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$tmp/answer"; }
number() { sed -n 's/.*"'"$1"'":\([0-9]*\).*/\1/p' "$tmp/answer"; }

# jwt HEADER CLAIMS: signs both. CLAIMS is left open at its end for the time and a one-time id.
jwt() {
  claims=$(printf '%s,"iat":%s,"jti":"%s"}' "$2" "$(date +%s)" "$(openssl rand -hex 16)")
  printf '%s.%s' "$(printf %s "$1" | b64)" "$(printf %s "$claims" | b64)" > "$tmp/text"
  openssl pkeyutl -sign -rawin -inkey "$key" -in "$tmp/text" -out "$tmp/signature" || exit 1
  printf '%s.%s' "$(cat "$tmp/text")" "$(b64 < "$tmp/signature")"
}

# send URL CURL-OPTIONS: leaves the answer in a file; fails unless the status is 2xx.
send() {
  status=$(curl -sS -o "$tmp/answer" -D "$tmp/headers" -w '%{http_code}' "$@") || exit 1
  case $status in 2*) ;; *) return 1 ;; esac
}

refused() {
  why=$(field detail)$(field error_description)
  code=$(field code)
  echo "refused: ${why:-no reason given} (${code:-$status})" >&2
  exit 1
}

# prove METHOD PATH CURL-OPTIONS: sends with a proof of the key for this very request.
prove() {
  method=$1 path=$2
  shift 2
  header='{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"'$public'"}}'
  request='{"htm":"'$method'","htu":"'$api$path'"'
  proof=$(jwt "$header" "$request")
  if send "$api$path" -X "$method" -H "DPoP: $proof" "$@"; then return; fi
  # The server may want its nonce in the proof: once more.
  nonce=$(tr -d '\r' < "$tmp/headers" | sed -n 's/^[Dd][Pp][Oo][Pp]-[Nn]once: //p')
  [ -n "$nonce" ] || refused
  proof=$(jwt "$header" "$request"',"nonce":"'"$nonce"'"')
  send "$api$path" -X "$method" -H "DPoP: $proof" "$@" || refused
}

[ -e "$key" ] || openssl genpkey -algorithm ed25519 -out "$key"
openssl pkey -in "$key" -pubout -outform DER -out "$tmp/der"
tail -c 32 "$tmp/der" > "$tmp/public"
public=$(b64 < "$tmp/public")
device=$(openssl dgst -sha256 -r "$tmp/public" | cut -d ' ' -f 1)
echo "device    $device"

list=$(printf %s "$scopes" | sed 's/,/","/g')
prove POST /v1/pairing-requests --data '{"role":"operator","scopes":["'"$list"'"],"name":"device.sh"}'
id=$(field id)
if [ "$(field status)" = pending ]; then
  echo "approve   hardtack devices approve $(field user_code)"
fi
while [ "$(field status)" = pending ]; do
  sleep "$(number interval)"
  prove GET "/v1/pairing-requests/$id"
done
if [ "$(field status)" != approved ]; then
  reason=$(field reason)
  echo "the request is $(field status): ${reason:-no reason given}" >&2
  exit 1
fi

# Tokens go through files: others on this machine can read the arguments of a command.
field grant | tr -d '\n' > "$tmp/grant"
claims='{"iss":"'$device'","sub":"'$device'","aud":"'$api'","exp":'$(($(date +%s) + 60))
jwt '{"typ":"JWT","alg":"EdDSA"}' "$claims" > "$tmp/assertion"
send "$api/oauth/token" \
  --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
  --data-urlencode "subject_token@$tmp/grant" \
  --data-urlencode subject_token_type=urn:ietf:params:oauth:token-type:refresh_token \
  --data-urlencode client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \
  --data-urlencode "client_assertion@$tmp/assertion" || refused
echo "exchanged $(field scope) for $(number expires_in) s"

printf 'Authorization: Bearer %s\n' "$(field access_token)" > "$tmp/header"
send "$gateway/.hardtack/whoami" -H "@$tmp/header" || refused
echo "whoami    $(cat "$tmp/answer")"
