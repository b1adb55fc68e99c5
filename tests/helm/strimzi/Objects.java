import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MappingIterator;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.strimzi.api.kafka.model.common.UnknownPropertyPreserving;
import io.strimzi.api.kafka.model.kafka.Kafka;
import io.strimzi.api.kafka.model.nodepool.KafkaNodePool;
import io.strimzi.api.kafka.model.topic.KafkaTopic;
import io.strimzi.api.kafka.model.user.KafkaUser;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/**
 * Reads Strimzi objects as YAML from stdin and decodes each one into Strimzi's own Java class. Wrong is: a field that the
 * class does not have, one that is deprecated, and a value that does not come back as it went in.
 * Prints one line for each object; exits with 1 if one is wrong.
 */
public class Objects {
    private static final Map<String, Class<? extends HasMetadata>> KINDS = Map.of(
            "Kafka", Kafka.class,
            "KafkaNodePool", KafkaNodePool.class,
            "KafkaTopic", KafkaTopic.class,
            "KafkaUser", KafkaUser.class);

    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper(new YAMLFactory());
        boolean failed = false;
        MappingIterator<JsonNode> documents = mapper.readerFor(JsonNode.class).readValues(System.in);
        while (documents.hasNext()) {
            JsonNode document = documents.next();
            if (document == null || !document.isObject()) {
                continue;
            }
            String version = document.path("apiVersion").asText();
            String kind = document.path("kind").asText();
            String name = version + " " + kind + " " + document.path("metadata").path("name").asText();
            List<String> faults = new ArrayList<>();
            String[] groupAndVersion = version.split("/");
            if (!KINDS.containsKey(kind) || !groupAndVersion[0].equals("kafka.strimzi.io")
                    || !versions(KINDS.get(kind)).contains(groupAndVersion[1])) {
                faults.add("unknown kind or version");
            } else {
                try {
                    HasMetadata object = mapper.treeToValue(document, KINDS.get(kind));
                    look(object, "", faults);
                    ((ObjectNode) document).remove("apiVersion"); // was looked at; Strimzi's classes answer with one of theirs
                    missing(document, mapper.valueToTree(object), "", faults);
                } catch (com.fasterxml.jackson.core.JsonProcessingException error) {
                    faults.add(error.getOriginalMessage());
                }
            }
            failed |= !faults.isEmpty();
            System.out.println((faults.isEmpty() ? "ok " + name : "fail " + name + ": " + String.join("; ", faults)));
        }
        System.exit(failed ? 1 : 0);
    }

    @SuppressWarnings("unchecked")
    private static List<String> versions(Class<? extends HasMetadata> kind) throws ReflectiveOperationException {
        return (List<String>) kind.getField("VERSIONS").get(null);
    }

    private static void look(Object object, String path, List<String> faults) throws Exception {
        if (object instanceof Collection<?> items) {
            for (Object item : items) {
                look(item, path + "[]", faults);
            }
        }
        if (!(object instanceof UnknownPropertyPreserving known)) {
            return;
        }
        if (known.getAdditionalProperties() != null) {
            known.getAdditionalProperties().keySet().forEach(key -> faults.add(path + "." + key + ": no such field"));
        }
        for (Method getter : object.getClass().getMethods()) {
            if (getter.getParameterCount() > 0 || !getter.getName().startsWith("get") || getter.getName().equals("getClass")) {
                continue;
            }
            Object value = getter.invoke(object);
            String inner = path + "." + getter.getName().substring(3);
            if (value != null && getter.isAnnotationPresent(Deprecated.class)) {
                faults.add(inner + ": deprecated");
            }
            look(value, inner, faults);
        }
    }

    private static void missing(JsonNode wanted, JsonNode found, String path, List<String> faults) {
        if (wanted.isObject()) {
            wanted.fieldNames().forEachRemaining(
                    field -> missing(wanted.get(field), found.path(field), path + "." + field, faults));
        } else if (wanted.isArray()) {
            for (int i = 0; i < wanted.size(); i++) {
                missing(wanted.get(i), found.path(i), path + "[" + i + "]", faults);
            }
        } else if (!wanted.asText().equals(found.asText())) {
            faults.add(path + "=" + wanted.asText() + ": read as " + (found.isMissingNode() ? "nothing" : found.asText()));
        }
    }
}
