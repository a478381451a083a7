"""What requests and answers are mostly made of, so that it need not be stored with each of them.

A dictionary for zstd: what stands in it costs a payload next to nothing. It is part of the format: a payload can only
be read with the very bytes that it was written with. So this text is never changed; a better one is another packing.
"""

from typing import Final

PHRASES: Final = b"""\
{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit \
of requests per minute."},"request_id":"req_011"}{"type":"error","error":{"details":null,"type":"overloaded_error",\
"message":"Overloaded"},"request_id":"req_011"}{"type":"error","error":{"type":"invalid_request_error","message":"\
,"tools":[{"name":"","description":"","input_schema":{"$schema":"http://json-schema.org/draft-07/schema#","type":\
"object","properties":{"file_path":{"type":"string","description":"The absolute path to the file"},"command":{"type":\
"string","description":""}},"required":["file_path"],"additionalProperties":false}},{"role":"assistant","content":[{\
"type":"thinking","thinking":"","signature":"EqQB"},{"type":"tool_use","id":"toolu_01","name":"Read","input":{\
"file_path":"/home/"}}]},{"role":"user","content":[{"tool_use_id":"toolu_01","type":"tool_result","content":"\
"is_error":true},{"type":"text","text":"<system-reminder>\\n","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],\
"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.; cc_entrypoint=cli; cch=;"},{"type":\
"text","text":"You are a helpful assistant.","cache_control":{"type":"ephemeral"}}],"metadata":{\
"user_id":"{\\"device_id\\":\\"\\",\\"account_uuid\\":\\"\\",\\"session_id\\":\\"\\"}"},"max_tokens":128000,"thinking":{\
"type":"adaptive"},"output_config":{"effort":"high"},"stream":true,"temperature":1}{"model":"claude-haiku-4-5-20251001",\
"model":"claude-opus-4-8","model":"claude-sonnet-5","max_tokens":4096,"messages":[{"role":"user","content":"
event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_01","name":"Bash",\
"input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"command\\": \\""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}

event: message_start
data: {"type":"message_start","message":{"model":"claude-sonnet-5","id":"msg_01","type":"message","role":"assistant",\
"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":0,\
"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},\
"output_tokens":1,"service_tier":"standard","inference_geo":"global"}}    }

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}   }

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"" }        }

event: content_block_stop
data: {"type":"content_block_stop","index":0      }

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":10,\
"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":100}  }

event: message_stop
data: {"type":"message_stop"   }

{"model":"claude-sonnet-5","id":"msg_01","type":"message","role":"assistant","content":[{"type":"text","text":"\
"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":0,\
"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},\
"output_tokens":100,"service_tier":"standard","inference_geo":"not_available"}}
Host: 127.0.0.1:8080
host: localhost:8080
connection: keep-alive
accept: application/json
content-type: application/json
accept-encoding: gzip, deflate, br, zstd
accept-language: *
sec-fetch-mode: cors
user-agent: Anthropic/JS 0.128.0
x-stainless-timeout: 600
x-stainless-arch: x64
x-stainless-lang: js
x-stainless-os: Linux
x-stainless-package-version: 0.128.0
x-stainless-retry-count: 0
x-stainless-runtime: node
x-stainless-runtime-version: v24.3.0
anthropic-dangerous-direct-browser-access: true
anthropic-version: 2023-06-01
anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14,\
context-management-2025-06-27,prompt-caching-scope-2026-01-05,oauth-2025-04-20
Accept: application/json
Content-Type: application/json
Authorization: ***
User-Agent: claude-cli/2.1.330 (external, cli)
X-Claude-Code-Session-Id: 0
X-Stainless-Arch: x64
X-Stainless-Lang: js
X-Stainless-OS: Linux
X-Stainless-Package-Version: 0.128.0
X-Stainless-Retry-Count: 0
X-Stainless-Runtime: node
X-Stainless-Runtime-Version: v24.3.0
X-Stainless-Timeout: 600
anthropic-dangerous-direct-browser-access: true
anthropic-version: 2023-06-01
x-app: cli
Connection: keep-alive
Host: localhost:8080
Accept-Encoding: gzip, deflate
Connection: keep-alive
User-Agent: Anthropic/Python 2.12.0
X-Stainless-Lang: python
X-Stainless-Package-Version: 2.12.0
X-Stainless-OS: MacOS
X-Stainless-Arch: arm64
X-Stainless-Runtime: CPython
X-Stainless-Runtime-Version: 3.12.8
X-Stainless-Async: async:asyncio
x-stainless-retry-count: 0
x-stainless-read-timeout: 600
x-api-key: ***
anthropic-version: 2023-06-01
Content-Type: application/json
Content-Length: 4096
retry-after: 60
x-should-retry: true
anthropic-ratelimit-unified-status: allowed
anthropic-ratelimit-unified-5h-status: allowed
anthropic-ratelimit-unified-5h-reset: 1795000000
anthropic-ratelimit-unified-5h-utilization: 0.1
anthropic-ratelimit-unified-7d-status: allowed
anthropic-ratelimit-unified-7d-reset: 1795000000
anthropic-ratelimit-unified-7d-utilization: 0.1
anthropic-ratelimit-unified-representative-claim: five_hour
anthropic-ratelimit-unified-fallback-percentage: 0.5
anthropic-ratelimit-unified-reset: 1795000000
anthropic-ratelimit-unified-overage-disabled-reason: org_level_disabled
anthropic-ratelimit-unified-overage-status: rejected
date: Mon, 30 Nov 2026 00:00:00 GMT
content-type: text/event-stream; charset=utf-8
cache-control: no-cache
content-encoding: gzip
vary: Accept-Encoding
content-type: application/json
anthropic-ratelimit-requests-limit: 4000
anthropic-ratelimit-requests-remaining: 3999
anthropic-ratelimit-requests-reset: 2026-11-30T00:00:00Z
anthropic-ratelimit-input-tokens-limit: 2000000
anthropic-ratelimit-input-tokens-remaining: 1999000
anthropic-ratelimit-input-tokens-reset: 2026-11-30T00:00:00Z
anthropic-ratelimit-output-tokens-limit: 400000
anthropic-ratelimit-output-tokens-remaining: 400000
anthropic-ratelimit-output-tokens-reset: 2026-11-30T00:00:00Z
anthropic-ratelimit-tokens-limit: 2400000
anthropic-ratelimit-tokens-remaining: 2399000
anthropic-ratelimit-tokens-reset: 2026-11-30T00:00:00Z
request-id: req_011C
strict-transport-security: max-age=31536000; includeSubDomains; preload
anthropic-organization-id: 0
anthropic-workspace-id: wrkspc_01
traceresponse: 00-
server: cloudflare
x-envoy-upstream-service-time: 812
via: 1.1 google
cf-cache-status: DYNAMIC
set-cookie: ***
set-cookie: ***
x-robots-tag: none
content-security-policy: default-src 'none'; frame-ancestors 'none'
cf-ray: -FRA
content-length: 1500
server-timing: ccflare;dur=0.35
"""
