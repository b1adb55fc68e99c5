"""The engine whose model runs on servers that the user has: vLLM, SGLang, llama.cpp, or any that chats."""
