// Requests to the server of this page. A refusal is an Error with the line that the server wrote.

async function refusal(response) {
  try {
    return new Error((await response.json()).error);
  } catch {
    return new Error(`the server answered ${response.status}; try again`);
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is hrm serve still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function post(path, body, signal) {
  return (await ask(path, { method: "POST", body, signal })).json();
}

// Sends `wish` and calls `on(name, data)` for every event that comes back.
export async function watch(path, wish, signal, on) {
  const response = await ask(path, { method: "POST", body: JSON.stringify(wish), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let isOver = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (.*)\ndata: (.*)$/);
      if (name === "failed") throw new Error(JSON.parse(data).error);
      isOver = name === "done";
      on(name, JSON.parse(data));
    }
  }
  if (!isOver) throw new Error("the server ended before the answer was there; try again");
}
