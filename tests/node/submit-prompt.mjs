// Runs the edge function of examples/submit-prompt, as Deno would. Argument: {module, url, requests: [{method,
// headers, body}]}; prints [{status, headers, body}].
const { module, url, requests } = JSON.parse(process.argv[2])
let handler
globalThis.Deno = {
  env: { get: (name) => (name === 'HIEMS_URL' ? url : undefined) },
  serve: (it) => { handler = it },
}
await import(module)

const answers = []
for (const { method, headers, body } of requests) {
  const request = new Request('http://localhost/functions/v1/submit-prompt', { method, headers, body })
  const response = await handler(request)
  const text = await response.text()
  answers.push({ status: response.status, headers: Object.fromEntries(response.headers), text })
}
console.log(JSON.stringify(answers))
