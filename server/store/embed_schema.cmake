# Writes OUTPUT, a source file with the text of FILES as SchemaSteps() (server/store/schema.h).
set(text "#include \"server/store/schema.h\"\n\nnamespace graft {\n\nconst std::vector<const char*>& SchemaSteps() {\n")
string(APPEND text "  static const std::vector<const char*> steps = {\n")
foreach(file IN LISTS FILES)
  file(READ ${file} sql)
  string(APPEND text "R\"sql(${sql})sql\",\n")
endforeach()
string(APPEND text "  };\n  return steps;\n}\n\n}  // namespace graft\n")
file(WRITE ${OUTPUT} "${text}")
